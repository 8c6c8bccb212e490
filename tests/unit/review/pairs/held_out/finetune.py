# === base
import torch
from transformers import AutoTokenizer


def build_features(examples, tokenizer, max_length, stride, pad_on_right):
    questions = [question.lstrip() for question in examples["question"]]
    encoded = tokenizer(
        questions,
        examples["context"],
        truncation="only_second" if pad_on_right else "only_first",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding="max_length",
    )
    mapping = encoded.pop("overflow_to_sample_mapping")
    encoded["example_id"] = []
    for index in range(len(encoded["input_ids"])):
        sequence = encoded.sequence_ids(index)
        context = 1 if pad_on_right else 0
        encoded["example_id"].append(examples["id"][mapping[index]])
        encoded["offset_mapping"][index] = [
            offset if sequence[k] == context else None for k, offset in enumerate(encoded["offset_mapping"][index])
        ]
    return encoded
# === copy: renamed, loop
def prepare_validation(batch, tok, length, overlap, right):
    asked = []
    for q in batch["question"]:
        asked.append(q.lstrip())
    enc = tok(
        asked,
        batch["context"],
        max_length=length,
        truncation="only_second" if right else "only_first",
        return_offsets_mapping=True,
        return_overflowing_tokens=True,
        stride=overlap,
        padding="max_length",
    )
    origin = enc.pop("overflow_to_sample_mapping")
    enc["example_id"] = []
    for i in range(len(enc["input_ids"])):
        ids = enc.sequence_ids(i)
        wanted = 1 if right else 0
        enc["example_id"].append(batch["id"][origin[i]])
        kept = []
        for k, o in enumerate(enc["offset_mapping"][i]):
            kept.append(o if ids[k] == wanted else None)
        enc["offset_mapping"][i] = kept
    return enc
# === copy: exact in another class
class Processor:
    def features(self, examples):
        questions = [question.lstrip() for question in examples["question"]]
        encoded = self.tokenizer(
            questions,
            examples["context"],
            truncation="only_second" if self.pad_on_right else "only_first",
            max_length=self.max_length,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding="max_length",
        )
        mapping = encoded.pop("overflow_to_sample_mapping")
        encoded["example_id"] = []
        for index in range(len(encoded["input_ids"])):
            sequence = encoded.sequence_ids(index)
            context = 1 if self.pad_on_right else 0
            encoded["example_id"].append(examples["id"][mapping[index]])
            encoded["offset_mapping"][index] = [
                offset if sequence[k] == context else None
                for k, offset in enumerate(encoded["offset_mapping"][index])
            ]
        return encoded
# === other: grouping texts
def group_texts(examples, block_size):
    joined = {key: sum(examples[key], []) for key in examples.keys()}
    total = len(joined[list(examples.keys())[0]])
    total = (total // block_size) * block_size
    result = {
        key: [tokens[start : start + block_size] for start in range(0, total, block_size)]
        for key, tokens in joined.items()
    }
    result["labels"] = result["input_ids"].copy()
    return result
# === other: labels of tokens
def align_labels(examples, tokenizer, label_all, max_length):
    encoded = tokenizer(
        examples["tokens"], truncation=True, is_split_into_words=True, max_length=max_length, padding="max_length"
    )
    encoded["labels"] = []
    for index, tags in enumerate(examples["ner_tags"]):
        previous = None
        labels = []
        for word in encoded.word_ids(batch_index=index):
            if word is None:
                labels.append(-100)
            elif word != previous:
                labels.append(tags[word])
            else:
                labels.append(tags[word] if label_all else -100)
            previous = word
        encoded["labels"].append(labels)
    return encoded
