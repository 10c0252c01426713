"""What `vae-eval --quality` measures: the likelihood, the samples and the latent space of a model folder.

Read in this order: `classifiers` (two networks, in whose features pictures are compared), `distances` (the formulas),
`sample_sets` (the pictures that are compared), `scores` (the formulas applied to sets), `own` (what compares pictures
of any other set than Fashion-MNIST), `likelihood`, `latent_space`, then `measure` (all of it, once) and `report`
(figures to Markdown). docs/evaluation.md explains each figure. `priors` is a study of its own.
"""
