//! How long the search among many people takes on one thread, and what a template takes in memory.
//!
//! `cargo run --release -p bench --example gallery [-- N...]` prints medians in milliseconds as JSON.

use std::time::Instant;

use anyhow::{Context, Result};
use bench::statistics::{median, round};
use models::{Embedding, Gallery, Template};
use serde_json::json;
use uuid::Uuid;

/// As the two embedders have it.
const DIMENSIONS: usize = 256;
const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// People who are searched for, in each gallery.
const SEARCHES: usize = 101;
/// The nearest so many are asked for, as identification does.
const MOST: usize = 4;

fn main() -> Result<()> {
    let asked: Vec<usize> = std::env::args().skip(1).map(|n| n.parse()).collect::<Result<_, _>>()?;
    let sizes = if asked.is_empty() { SIZES.to_vec() } else { asked };
    let middle = |times: &[f64]| median(times).map(round);
    let mut rows = Vec::new();
    for size in sizes {
        eprintln!("{size} templates");
        let gallery = Gallery::of((0..size).map(|n| (Uuid::from_u128(n as u128), template(n as u64))));
        let mut times = Vec::new();
        let (mut crowds, mut found) = (Vec::new(), 0);
        for search in 0..SEARCHES {
            let sought = search * size / SEARCHES;
            let face = face(sought as u64).context("a direction")?;
            let start = Instant::now();
            let nearest = gallery.nearest(&face, MOST);
            times.push(start.elapsed().as_secs_f64() * 1e3);
            found += usize::from(nearest[0].person == Uuid::from_u128(sought as u128));
            let start = Instant::now();
            std::hint::black_box(gallery.crowd(&nearest[0], 3));
            crowds.push(start.elapsed().as_secs_f64() * 1e3);
        }
        rows.push(json!({
            "n": size, "search_ms": middle(&times), "crowd_ms": middle(&crowds), "found": found, "searches": SEARCHES,
            "bytes_per_template": gallery.bytes() as f64 / size as f64, "dimensions": DIMENSIONS,
        }));
    }
    println!("{}", json!({ "gallery": rows }));
    Ok(())
}

/// Numbers without an order, the same in every run.
fn face(seed: u64) -> Option<Embedding> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    Embedding::normalised(&std::array::from_fn::<f32, DIMENSIONS, _>(|_| next()))
}

fn template(seed: u64) -> Template {
    face(seed).and_then(|face| Template::mean([&face])).expect("numbers have a direction")
}
