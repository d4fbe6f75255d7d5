"""`python -m bench`: see `bench.run`."""

import uvloop

from bench.run import main, parse

uvloop.run(main(parse()))
