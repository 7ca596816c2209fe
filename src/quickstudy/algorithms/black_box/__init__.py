"""Model-based (black-box): a network reads the support set and answers; its weights stay."""
