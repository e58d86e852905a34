"""The adapter bank: many LoRA adapters trained in one run over one frozen base."""
