"""What the course has measured: the grid of trained heads, its tables, what the paper published.

May import every room below it (training, evaluation, datasets, models, method, toyshop); only the
benchmarks, the course and the command line read it.
"""
