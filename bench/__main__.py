"""`fastattn bench`, with the cases of this folder."""

import sys

from fastattn.cli import bench, main

bench.PACKAGE = __package__
sys.exit(main(["bench", *sys.argv[1:]]))
