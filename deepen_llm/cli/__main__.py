"""``python -m deepen_llm.cli``, where the package is not installed."""

from deepen_llm.cli import app

if __name__ == "__main__":
    app(prog_name="deepen")
