"""`python -m deploy`: the command line, where its script is not on PATH."""

from deploy.cli import app
from deploy.up.tether import tether

tether()
app(prog_name="millstream")
