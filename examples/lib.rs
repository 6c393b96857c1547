//! Axon's examples: one file each, beside this one. `make test` compiles and runs them all, and the
//! README quotes them word for word.
