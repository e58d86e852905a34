"""Training adapters on a frozen base: jobs and examples in, PEFT folders out."""
