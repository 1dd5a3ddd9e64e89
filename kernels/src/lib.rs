//! Sparse INT8 products as custom operators of onnxruntime.

pub mod activations;
pub mod attention;
pub mod blocks;
pub mod convolution;
pub mod epilogue;
pub mod feed_forward;
pub mod linear;
#[cfg(test)]
mod noise;
pub mod normalization;
pub mod operators;
pub mod packing;
pub mod pairs;
pub mod pointwise;
pub mod products;
pub mod runtime;
pub mod shapes;
#[cfg(test)]
mod striped;
pub mod transposition;
