"""Training of whole models on packed sequences, over transformers' Trainer: continued pre-training and fine-tuning."""
