"""`posexp report`: the results of a work directory on one page."""
