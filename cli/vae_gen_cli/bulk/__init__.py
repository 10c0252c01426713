"""Any number of pictures or latents in a folder of shards, which several processes or machines may fill together."""
