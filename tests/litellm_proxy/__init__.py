"""What is shown with LiteLLM itself, which has an environment of its own."""
