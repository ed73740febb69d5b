// The simulated world, as the official Node client of OpenAI sees it.
//
// Usage: node_client.mjs BASE_URL RATE_LIMITED_URL BROKEN_URL
//
// BASE_URL serves world.yaml, RATE_LIMITED_URL faults.yaml and BROKEN_URL broken.yaml, each ending in /v1.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The client is installed outside this folder: NODE_CLIENT_MODULES names where.
const require = createRequire(pathToFileURL(`${process.env.NODE_CLIENT_MODULES}/here.js`));
const { OpenAI } = require("openai");

const [base, limited, broken] = process.argv.slice(2);
const model = "gpt-4o-mini";
const client = (options = {}) => new OpenAI({ baseURL: base, apiKey: "sk-simulated", maxRetries: 0, ...options });
const hello = [{ role: "user", content: "Hello" }];
const weather = [{ role: "user", content: "What is the weather in Paris and Rome?" }];
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: {
        type: "object",
        properties: { city: { type: "string" }, days: { type: "integer" } },
        required: ["city", "days"],
      },
    },
  },
];

async function all(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

async function raises(kind, status, promise) {
  const error = await promise.then(
    () => assert.fail(`${kind.name} was not raised`),
    (error) => error,
  );
  assert.equal(error.constructor, kind, String(error));
  assert.equal(error.status, status);
  return error;
}

const checks = {
  async "a chat is answered with text and usage"() {
    const answer = await client().chat.completions.create({ model, messages: hello, seed: 1 });
    assert.match(answer.choices[0].message.content, /^Hello! I am the assistant/);
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
    assert.equal(answer.usage.prompt_tokens_details.cached_tokens, 0);
  },
  async "tools are called in parallel and answered"() {
    const messages = [...weather];
    const first = (await client().chat.completions.create({ model, messages, tools })).choices[0];
    assert.equal(first.finish_reason, "tool_calls");
    const calls = first.message.tool_calls;
    assert.deepEqual(
      calls.map((call) => JSON.parse(call.function.arguments)),
      [
        { city: "Paris", days: 3 },
        { city: "Rome", days: 3 },
      ],
    );
    messages.push(first.message);
    messages.push(...calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "sunny" })));
    const last = (await client().chat.completions.create({ model, messages, tools })).choices[0];
    assert.equal(last.message.content, "It is sunny in Paris and rainy in Rome.");
  },
  async "the tool runner of the client goes through the whole loop"() {
    const asked = [];
    const runner = client().chat.completions.runTools({
      model,
      messages: weather,
      tools: [
        {
          type: "function",
          function: {
            ...tools[0].function,
            parse: JSON.parse,
            function: ({ city }) => {
              asked.push(city);
              return "sunny";
            },
          },
        },
      ],
    });
    assert.equal(await runner.finalContent(), "It is sunny in Paris and rainy in Rome.");
    assert.deepEqual(asked, ["Paris", "Rome"]);
  },
  async "structured output is parsed"() {
    const schema = {
      type: "object",
      properties: { name: { type: "string" }, size: { type: "integer" } },
      required: ["name", "size"],
      additionalProperties: false,
    };
    const response_format = { type: "json_schema", json_schema: { name: "city", strict: true, schema } };
    const answer = await client().chat.completions.parse({ model, messages: hello, response_format });
    const { name, size } = answer.choices[0].message.parsed;
    assert.deepEqual([typeof name, typeof size], ["string", "number"]);
  },
  async "a stream brings the text in pieces and the usage last"() {
    const options = { model, messages: hello, stream: true, stream_options: { include_usage: true } };
    const chunks = await all(await client().chat.completions.create(options));
    const pieces = chunks.map((chunk) => chunk.choices[0]?.delta.content).filter(Boolean);
    const whole = await client().chat.completions.create({ model, messages: hello });
    assert.ok(pieces.length > 1);
    assert.equal(pieces.join(""), whole.choices[0].message.content);
    assert.deepEqual(chunks.at(-1).usage, whole.usage);
  },
  async "a stream of tool calls adds up"() {
    const options = { model, messages: weather, tools, stream_options: { include_usage: true } };
    const final = await client().chat.completions.stream(options).finalChatCompletion();
    const cities = final.choices[0].message.tool_calls.map((call) => JSON.parse(call.function.arguments).city);
    assert.deepEqual(cities, ["Paris", "Rome"]);
    assert.ok(final.usage.total_tokens > 0);
  },
  async "embeddings come in base64 and in numbers alike"() {
    const request = { model: "text-embedding-3-small", input: ["refund my order", "the weather in Oslo"] };
    const packed = await client().embeddings.create(request);
    const plain = await client().embeddings.create({ ...request, encoding_format: "float" });
    for (const [index, { embedding }] of packed.data.entries()) {
      assert.equal(embedding.length, 64);
      embedding.forEach((x, place) => assert.ok(Math.abs(x - plain.data[index].embedding[place]) < 1e-6));
    }
  },
  async "models are listed"() {
    const models = await all(client().models.list());
    assert.ok(models.some(({ id }) => id === model));
  },
  async "errors are exceptions of their own types"() {
    const ask = (options = {}, from = client()) => from.chat.completions.create({ model, messages: hello, ...options });
    const wrongKey = await raises(OpenAI.AuthenticationError, 401, ask({}, client({ apiKey: "sk-other" })));
    assert.equal(wrongKey.code, "invalid_api_key");
    await raises(OpenAI.NotFoundError, 404, ask({ model: "gpt-0" }));
    assert.equal((await raises(OpenAI.BadRequestError, 400, ask({ messages: [] }))).param, "messages");
    await raises(OpenAI.BadRequestError, 400, ask({ temperature: 9 }));
  },
  async "a rate limit says when to come back and a retry succeeds"() {
    const ask = (content, maxRetries) =>
      client({ baseURL: limited, maxRetries }).chat.completions.create({ model, messages: [{ role: "user", content }] });
    const error = await raises(OpenAI.RateLimitError, 429, ask("node one", 0));
    assert.equal(error.headers.get("retry-after"), "1");
    assert.ok((await ask("node two", 1)).choices[0].message.content);
  },
  async "a broken server is an internal server error and a retry succeeds"() {
    const ask = (content, maxRetries) =>
      client({ baseURL: broken, maxRetries }).chat.completions.create({ model, messages: [{ role: "user", content }] });
    await raises(OpenAI.InternalServerError, 500, ask("node one", 0));
    assert.ok((await ask("node two", 1)).choices[0].message.content);
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
  } catch (error) {
    failed += 1;
    console.error(`FAILED ${name}`, error);
  }
}
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
