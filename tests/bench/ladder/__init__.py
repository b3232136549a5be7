"""The ladder of section 14.8 of the task specification: better predictors must score better on the synthetic world.

Rung 0 is chance and the most common answer, exact; rung 1 are simple features and a linear classifier; rung 4 reads
the truth of the world and answers through the task's own head, so what it loses is label noise or ambiguity. Rungs 2
and 3 are networks, whose tasks and weights come from elsewhere.

The specification takes the most common answer for rung 1 of the six question tasks. Section 14.6 makes the answers so
even that this is hardly more than chance, as it should be; rung 1 here is a linear classifier over simple features for
every task, and the most common answer stands beside chance.
"""
