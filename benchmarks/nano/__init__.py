"""bimba-nano from nothing: recipes in; a trained model, what it can do, its page, its card and the shipped folder out.

The flow, one module a step: commands -> training (stage by stage) -> measuring (accuracy, by the package's own
evaluation) -> stages, counting, weights (what the logs tell) -> figures (all of it, as one JSON file) -> bars,
comparing (what holds) -> page, pictures, curves (docs/nano.md) -> card, shipping (the folder in the package).
"""
