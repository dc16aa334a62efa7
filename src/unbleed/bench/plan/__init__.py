"""Plans: prompts with their cases, the variants compared, and one job per image."""
