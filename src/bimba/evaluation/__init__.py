"""Evaluation: a model and a benchmark in; one line a question, tables with intervals, pictures and provenance out.

`answering` asks a model about one video that is encoded once, `scoring` tells what is right, `shares` counts with
intervals, `pictures` draws, `provenance` says what a number was made with. A benchmark is a folder of its own:
`needles` asks about needle videos that nobody stored.
"""
