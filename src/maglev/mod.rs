//! Maglev consistent hashing: backends, weights, table size, key -> table. Pure.
