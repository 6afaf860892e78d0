"""Files as people have them: made on the fly, with answers that plain tools gave once."""
