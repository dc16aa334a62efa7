"""What tests share: tiny random models, slow references, made-up runs."""
