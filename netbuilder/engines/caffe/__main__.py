"""`python -m netbuilder.engines.caffe` prints which Caffe is used, or why there is none."""

import sys

from netbuilder.engines.caffe.judge import main

if __name__ == "__main__":
    sys.exit(main())
