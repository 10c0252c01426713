"""Measures for `vae-eval --quality`: the likelihood, the samples and the latent space of a model folder.

Read in this order: `classifiers` (whose features everything is measured in), `distances` and `neighbours` (the
formulas), `sample_sets` (what is measured), `scores` (formulas on sets), `likelihood`, `latent_space`, then `running`
(all of it, once) and `report` (JSON to tables and pictures). What each figure means: docs/evaluation.md.
"""
