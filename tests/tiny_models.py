"""Tiny random models with a byte-level tokenizer and a chat template, as folders."""

from __future__ import annotations

from pathlib import Path

import torch

SPECIAL = ["<unk>", "<s>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TRIMMING = TEMPLATE.replace("m['content']", "m['content'] | trim")


def tokenizer(template: str | None = TEMPLATE, adds_start: bool = False):
    """A tokenizer of bytes: no merges, so that every letter is a token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*SPECIAL, *letters])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(t, special=True) for t in SPECIAL])
    if adds_start:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    out = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="<|end|>", pad_token="<|end|>", unk_token="<unk>"
    )
    out.chat_template = template
    return out


def config(kind: str = "llama", **changes):
    """A config of a model with four layers of 32 units."""
    import transformers as hf

    common = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    if kind == "gpt2":
        return hf.GPT2Config(vocab_size=len(tokenizer()), n_positions=2048, n_embd=32, n_layer=4, n_head=4)
    if kind == "bert":
        common.pop("num_key_value_heads")
        return hf.BertConfig(**common)
    made = {"llama": hf.LlamaConfig, "mistral": hf.MistralConfig, "qwen2": hf.Qwen2Config}[kind]
    return made(**(common | ({"sliding_window": 16} if kind == "mistral" else {}) | changes))


def folder(
    path: Path, kind: str = "llama", head: str = "causal", seed: int = 0, template: str | None = TEMPLATE, **changes
) -> str:
    """Write a random model and its tokenizer; return the folder's name. `changes` are of the config."""
    import transformers as hf

    heads = {
        "causal": hf.AutoModelForCausalLM,
        "classification": hf.AutoModelForSequenceClassification,
        "none": hf.AutoModel,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = heads[head].from_config(config(kind, **changes))
        for parameter in model.parameters():  # larger than the usual start, so that attention matters
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(path)
    tokenizer(template).save_pretrained(path)
    return str(path)
