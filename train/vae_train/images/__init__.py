"""Any set of small pictures as training data: a folder, a zip, arrays, or a named data set.

Read in this order, each module needs only those above it:

    settings    the options of reading a set, and a choice with its reason
    image_set   the set itself: pictures as tensors, with labels, names, licence and preparation
    listing     which pictures a folder or a zip has, with their classes and splits
    arrays      IDX files, NumPy files and torchvision data sets
    decoding    one file to the pixels that the model sees
    choices     size, channels, background and latent width from the data
    cache       all files decoded once into a memory map, by several processes
    report      what was found, for people, and the contact sheet
    loading     all of it: `load_images`
"""
