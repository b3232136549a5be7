"""Simple predictors of every task: the first rung of the ladder of section 14.8 of the task specification.

Each is fitted on the training part and answers for the test part as plain arrays or lists; none learns a
representation. A foundation model that does not beat them has shown nothing. No data set, file or run is known here.
"""
