'use strict';
// Run every finding; exit 0 when all are reproduced, 1 when one is not.
require('../../findings_in_node').runAll(__dirname);
