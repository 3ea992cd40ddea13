import plumbline
from transformers import LlamaConfig, LlamaForCausalLM

adapter = plumbline.HuggingFace(lambda s: LlamaForCausalLM(LlamaConfig(**plumbline.llama_config(s))))
