//! Axon's examples: one file each, beside this one. `make test` compiles and runs them all; the
//! README and the guide quote them word for word.
