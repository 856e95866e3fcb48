#!/bin/bash -eu
# The same build as for ClusterFuzzLite.
exec "$SRC/pawl/.clusterfuzzlite/build.sh"
