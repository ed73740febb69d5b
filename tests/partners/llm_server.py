"""A small instruct model behind the OpenAI API, by llama.cpp: llm_server.py MODEL.gguf

One thread computes. A second one, on a machine whose cores are busy, makes llama.cpp ten times slower: its threads wait for each other
in loops at every operation.
"""

import sys

import xllamacpp

from serving import Bill, Refusal, serve

SLOTS = 1
CONTEXT = 4096  # tokens of one conversation

parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.n_parallel = SLOTS
parameters.n_ctx = SLOTS * CONTEXT
parameters.cpuparams.n_threads = 1
parameters.verbosity = 0
llama = xllamacpp.Server(parameters)
bill = Bill()


def chat(request):
    if request.get("stream"):
        raise Refusal(400, "streams are not served")
    answer = llama.handle_chat_completions(request)
    error = answer.get("error")
    if error:
        raise Refusal(error.get("code", 500), error.get("message", "llama.cpp failed"), error.get("type", "server_error"))
    bill.add(request.get("model", ""), answer["usage"])
    answer["model"] = request.get("model", "")
    return answer


serve({"/v1/chat/completions": chat}, bill)
