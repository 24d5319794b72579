"""Write a small tokenizer into FOLDER: the load tools would fetch one from a hub, and count prompts' tokens with it.

python -m tests.clients.programs.make_tokenizer FOLDER
"""

import string
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END = "<|end|>"


def main(folder: str) -> None:
    """Train a byte-level tokenizer: it encodes any text and decodes it without loss."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([string.printable], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END).save_pretrained(folder)


main(sys.argv[1])
