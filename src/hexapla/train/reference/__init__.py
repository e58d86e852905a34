"""The reference trainer: one adapter after another through peft, plain enough to check the bank against."""
