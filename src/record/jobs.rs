//! Jobs and what pockets have.
