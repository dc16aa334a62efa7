"""Training of the embedded parser: templates in the language of prompts beside a treebank."""
