"""What a model holds inside: hidden states of a layer, and sentences as means of them."""
