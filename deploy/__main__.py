"""`python -m deploy`: the command line, where its script is not on PATH."""

from deploy.cli import app

app(prog_name="millstream")
