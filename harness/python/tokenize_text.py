"""Text to token ids and back, by a tokenizer.json: tokenize_text.py encode|decode TOKENIZER INPUT OUTPUT.

INPUT and OUTPUT are JSON lists: of texts, of lists of ids. The file comes from strangers, so it is read in a process of its own.
Standard output is one line of JSON: {"vocabulary": N} when OUTPUT was written, else {"error": "..."} and status 1.
"""

import json
import sys


def main():
    action, path, source, target = sys.argv[1:]
    try:
        import tokenizers
    except ImportError:
        return "Python's package 'tokenizers' is not there: pip install tokenizers"
    try:
        tokenizer = tokenizers.Tokenizer.from_file(path)
    except Exception as error:  # the library raises Exception itself
        return f"is no tokenizer that can be read: {' '.join(str(error).split())[:300]}"
    with open(source, encoding="utf-8") as given:
        values = json.load(given)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if action == "encode":
        # As they stand: a chat's special tokens are for whoever writes the prompt.
        answer = [encoding.ids for encoding in tokenizer.encode_batch(values, add_special_tokens=False)]
    else:
        answer = tokenizer.decode_batch(values, skip_special_tokens=True)
    with open(target, "w", encoding="utf-8") as out:
        json.dump(answer, out, ensure_ascii=True)
    print(json.dumps({"vocabulary": tokenizer.get_vocab_size()}))
    return None


if __name__ == "__main__":
    complaint = main()
    if complaint is not None:
        print(json.dumps({"error": complaint}))
        sys.exit(1)
