//! Everybody whom a terminal may recognise, and the search for those who are most similar.
//!
//! A template is kept as one signed byte a number, and every one is compared: nothing is skipped and
//! the sums are of whole numbers, so that each processor finds the same people.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use multiversion::multiversion;
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use crate::template::{Embedding, Template};

/// The number that a byte of 127 stands for. Of 3268 photos of LFW no number lay beyond; one that does
/// is cut off. With bytes as many enrolled people were missed there as with floats, within one in a
/// hundred. Vectors of few numbers, whose numbers are larger, reach further: so many standard deviations
/// of a random unit vector's.
const REACH: f32 = 0.38;
const DEVIATIONS: f32 = 4.3;
/// What a searched embedding's numbers are multiplied by; they are at most 1.
const FINE: f32 = 8192.0;
/// Templates compared at once, before the best are picked.
const BLOCK: usize = 256;
/// So many more are looked at where only the first numbers are compared: those of a template are not quite
/// as long as another's, and what is nearest is known only when that is reckoned with.
const SPARE: usize = 12;
/// Templates whose surroundings are remembered, at most.
const REMEMBERED: usize = 4096;

/// A template that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// Whose.
    pub person: Uuid,
    /// The cosine of the angle to it: 1 is the same direction.
    pub similarity: f32,
    /// Its place, until the gallery changes.
    place: usize,
    /// How many numbers were compared.
    numbers: usize,
}

/// The templates, one a person: its numbers in bytes, and 16 bytes for whose it is.
#[derive(Default)]
pub struct Gallery {
    dimensions: usize,
    people: Vec<Uuid>,
    codes: Vec<i8>,
    /// Cache of [`Self::crowd`], by place and how many numbers were compared.
    crowds: Mutex<HashMap<(usize, usize), f32>>,
}

impl Clone for Gallery {
    fn clone(&self) -> Self {
        let (people, codes) = (self.people.clone(), self.codes.clone());
        Self { dimensions: self.dimensions, people, codes, crowds: Mutex::default() }
    }
}

impl Gallery {
    /// A gallery of many people, each of whom comes once.
    pub fn of<T: Borrow<Template>>(people: impl IntoIterator<Item = (Uuid, T)>) -> Self {
        let people: Vec<(Uuid, T)> = people.into_iter().collect();
        let mut gallery = Self::default();
        for (person, template) in &people {
            gallery.add(*person, template.borrow(), people.len());
        }
        gallery
    }

    /// People in it.
    pub fn len(&self) -> usize {
        self.people.len()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// Bytes that it holds in memory.
    pub fn bytes(&self) -> usize {
        self.codes.capacity() + self.people.capacity() * size_of::<Uuid>()
    }

    /// Puts a person's template in, or replaces it. One of another embedder than those that are there
    /// changes nothing.
    pub fn put(&mut self, person: Uuid, template: &Template) {
        self.clear_crowds();
        let codes = encode(template.embedding());
        match self.people.iter().position(|known| *known == person) {
            Some(place) if codes.len() == self.dimensions => {
                self.codes[place * self.dimensions..][..self.dimensions].copy_from_slice(&codes);
            }
            Some(_) => {}
            None => self.add(person, template, self.people.len() + self.people.len() / 4 + 1),
        }
    }

    /// Adds somebody to a gallery that is going to hold so many.
    fn add(&mut self, person: Uuid, template: &Template, expected: usize) {
        let codes = encode(template.embedding());
        if self.people.is_empty() {
            self.dimensions = codes.len();
        }
        if codes.len() != self.dimensions {
            return;
        }
        if self.codes.capacity() < self.codes.len() + codes.len() {
            // Growing copies: what is left behind must be zeroed.
            let mut larger = Vec::with_capacity((expected * codes.len()).max(self.codes.len() + codes.len()));
            larger.extend_from_slice(&self.codes);
            self.codes.zeroize();
            self.codes = larger;
            self.people.reserve_exact(expected.saturating_sub(self.people.len()));
        }
        self.people.push(person);
        self.codes.extend_from_slice(&codes);
    }

    /// The most similar people, at most so many, the most similar first. None by another embedder's face.
    pub fn nearest(&self, face: &Embedding, most: usize) -> Vec<Match> {
        if face.values().len() == self.dimensions { self.nearest_by(face, most) } else { Vec::new() }
    }

    /// The same by the first numbers of the templates, as many as the face has: what the first of two
    /// embedders says.
    pub fn nearest_by(&self, face: &Embedding, most: usize) -> Vec<Match> {
        let wide: Vec<i16> = face.values().iter().map(|value| (value * FINE).round() as i16).collect();
        self.search(&Zeroizing::new(wide), 1.0 / FINE, most)
    }

    /// How crowded it is around somebody: the mean similarity of the `neighbours` people most similar
    /// to them. `None` where there are too few.
    pub fn crowd(&self, found: &Match, neighbours: usize) -> Option<f32> {
        if self.dimensions == 0 || neighbours == 0 || found.place >= self.people.len() {
            return None;
        }
        let key = (found.place, found.numbers);
        let known = self.crowds.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if known.is_some() {
            return known;
        }
        let row = &self.row(found.place)[..found.numbers];
        let scale = step(self.dimensions) / self.length(found.place, found.numbers);
        let row: Vec<i16> = row.iter().map(|code| i16::from(*code)).collect();
        let others = self.search(&Zeroizing::new(row), scale, neighbours + 1);
        let crowd = mean(others.iter().filter(|other| other.place != found.place), neighbours)?;
        let mut crowds = self.crowds.lock().unwrap_or_else(PoisonError::into_inner);
        if crowds.len() >= REMEMBERED {
            crowds.clear();
        }
        crowds.insert(key, crowd);
        Some(crowd)
    }

    fn row(&self, place: usize) -> &[i8] {
        &self.codes[place * self.dimensions..][..self.dimensions]
    }

    /// How long the first numbers of a template are as a vector; all of them are a unit vector.
    fn length(&self, place: usize, numbers: usize) -> f32 {
        if numbers == self.dimensions {
            return 1.0;
        }
        let square = |code: &i8| i32::from(*code) * i32::from(*code);
        let sum: i32 = self.row(place)[..numbers].iter().map(square).sum();
        (sum as f32).sqrt() * step(self.dimensions)
    }

    fn search(&self, face: &[i16], scale: f32, most: usize) -> Vec<Match> {
        if face.is_empty() || face.len() > self.dimensions || most == 0 {
            return Vec::new(); // nobody is in it, or it is of another embedder
        }
        let held = if face.len() < self.dimensions { most + SPARE } else { most };
        let mut best: Vec<(i32, usize)> = Vec::with_capacity(held + 1);
        let mut sums = [0; BLOCK];
        for (block, rows) in self.codes.chunks(BLOCK * self.dimensions).enumerate() {
            let count = rows.len() / self.dimensions;
            compare(face, rows, self.dimensions, &mut sums[..count]);
            for (offset, sum) in sums[..count].iter().enumerate() {
                if best.len() < held || best.last().is_some_and(|last| *sum > last.0) {
                    let at = best.partition_point(|other| other.0 >= *sum);
                    best.insert(at, (*sum, block * BLOCK + offset));
                    best.truncate(held);
                }
            }
        }
        let (scale, numbers) = (scale * step(self.dimensions), face.len());
        let found = best.into_iter();
        let found = found.map(|(sum, place)| {
            let similarity = sum as f32 * scale / self.length(place, numbers).max(f32::EPSILON);
            Match { person: self.people[place], similarity, place, numbers }
        });
        let mut found: Vec<Match> = found.collect();
        found.sort_by(|one, other| other.similarity.total_cmp(&one.similarity));
        found.truncate(most);
        found
    }

    fn clear_crowds(&mut self) {
        self.crowds.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Gallery {
    fn drop(&mut self) {
        self.codes.zeroize();
    }
}

/// The mean similarity of the first `count`. `None` where there are fewer.
pub(crate) fn mean<'a>(matches: impl Iterator<Item = &'a Match>, count: usize) -> Option<f32> {
    let found: Vec<f32> = matches.take(count).map(|found| found.similarity).collect();
    (found.len() == count && count > 0).then(|| found.iter().sum::<f32>() / count as f32)
}

/// What one step of a byte stands for.
fn step(dimensions: usize) -> f32 {
    (DEVIATIONS / (dimensions as f32).sqrt()).clamp(REACH, 1.0) / 127.0
}

fn encode(face: &Embedding) -> Zeroizing<Vec<i8>> {
    let step = step(face.values().len());
    let code = |value: &f32| (value / step).round().clamp(-127.0, 127.0) as i8;
    Zeroizing::new(face.values().iter().map(code).collect())
}

/// The dot product of a face with the beginning of each row, with the widest registers that there are.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn compare(face: &[i16], rows: &[i8], dimensions: usize, sums: &mut [i32]) {
    for (row, sum) in rows.chunks_exact(dimensions).zip(sums) {
        *sum = row.iter().zip(face).map(|(code, value)| i32::from(*code) * i32::from(*value)).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(values: &[f32]) -> Embedding {
        Embedding::normalised(values).expect("direction")
    }

    fn template(values: &[f32]) -> Template {
        Template::mean(&[unit(values)]).expect("one photo")
    }

    #[test]
    fn the_first_numbers_are_compared_as_unit_vectors() {
        let join = |first: &[f32], second: &[f32], share| {
            Template::mean([&Embedding::join(&unit(first), &unit(second), share)]).expect("one photo")
        };
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let gallery = Gallery::of([
            (one, join(&[1.0, 0.2, 0.0], &[1.0, 0.0], 0.1)),
            (other, join(&[0.0, 0.2, 1.0], &[0.0, 1.0], 0.3)),
        ]);
        for (face, person) in [([1.0, 0.2, 0.0], one), ([0.0, 0.2, 1.0], other)] {
            let found = gallery.nearest_by(&unit(&face), 2);
            assert_eq!(found[0].person, person);
            assert!((found[0].similarity - 1.0).abs() < 0.02, "{}", found[0].similarity);
            let crowd = gallery.crowd(&found[0], 1).expect("another");
            assert!((crowd - 0.04 / 1.04).abs() < 0.02, "{crowd}");
            assert!(gallery.nearest(&unit(&face), 2).is_empty(), "of another embedder");
        }
    }

    #[test]
    fn who_is_nearest_by_the_first_numbers_does_not_hang_on_how_long_those_are() {
        let join = |first: &[f32], share| {
            Template::mean([&Embedding::join(&unit(first), &unit(&[1.0, 0.0]), share)]).expect("one photo")
        };
        let (near, far) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let gallery = Gallery::of([(near, join(&[1.0, 0.0, 0.0], 0.2)), (far, join(&[1.0, 0.2, 0.0], 0.01))]);
        let found = gallery.nearest_by(&unit(&[1.0, 0.0, 0.0]), 1);
        assert_eq!(found.iter().map(|found| found.person).collect::<Vec<_>>(), [near]);
    }

    /// Vectors that have no order, the same in every run.
    fn any(count: usize) -> Vec<Vec<f32>> {
        let mut state = 1_u64;
        let mut number = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count).map(|_| (0..128).map(|_| number()).collect()).collect()
    }

    #[test]
    fn the_nearest_person_is_found_and_replaced() {
        let face = unit(&[1.0, 0.1, 0.0]);
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut gallery = Gallery::default();
        assert!(gallery.nearest(&face, 1).is_empty());
        gallery.put(one, &template(&[1.0, 0.0, 0.0]));
        gallery.put(other, &template(&[0.0, 1.0, 0.0]));
        assert_eq!(gallery.nearest(&face, 1)[0].person, one);
        gallery.put(one, &template(&[0.0, 0.0, 1.0]));
        assert_eq!(gallery.len(), 2);
        assert_eq!(gallery.nearest(&face, 9).iter().map(|m| m.person).collect::<Vec<_>>(), [other, one]);
    }

    #[test]
    fn bytes_find_whom_floats_find() {
        let vectors = any(1000);
        let templates: Vec<Template> = vectors.iter().map(|v| template(v)).collect();
        let people = (0..).map(Uuid::from_u128);
        let gallery = Gallery::of(people.zip(&templates));
        for probe in [0, 255, 256, 257, 999] {
            let mut face = vectors[probe].clone();
            face.iter_mut()
                .zip(&vectors[(probe + 1) % 1000])
                .for_each(|(value, other)| *value += other / 3.0);
            let face = unit(&face);
            let exact = |n: usize| 1.0 - face.distance(templates[n].embedding()).powi(2) / 2.0;
            let found = gallery.nearest(&face, 3);
            assert_eq!(found[0].person, Uuid::from_u128(probe as u128));
            assert!(
                (found[0].similarity - exact(probe)).abs() < 0.005,
                "{} {}",
                found[0].similarity,
                exact(probe)
            );
            assert!(found.windows(2).all(|pair| pair[0].similarity >= pair[1].similarity));
        }
    }

    #[test]
    fn every_processor_adds_up_the_same() {
        let rows: Vec<i8> = (0..128 * 100).map(|k: usize| (k * 37 % 255) as u8 as i8).collect();
        let face: Vec<i16> = (0..128).map(|k: i16| k * 119 - 7000).collect();
        let mut sums = vec![0; 100];
        compare(&face, &rows, 128, &mut sums);
        for (row, sum) in rows.chunks_exact(128).zip(sums) {
            let mut expected = 0;
            for (code, value) in row.iter().zip(&face) {
                expected += i32::from(*code) * i32::from(*value);
            }
            assert_eq!(sum, expected);
        }
    }

    #[test]
    fn another_embedders_templates_are_left_out() {
        let mut gallery = Gallery::of([(Uuid::from_u128(1), template(&[1.0, 0.0, 0.0]))]);
        gallery.put(Uuid::from_u128(2), &template(&[1.0, 0.0]));
        gallery.put(Uuid::from_u128(1), &template(&[1.0, 0.0]));
        assert_eq!(gallery.len(), 1);
        assert!(gallery.nearest(&unit(&[1.0, 0.0]), 1).is_empty());
        assert_eq!(gallery.nearest(&unit(&[1.0, 0.0, 0.0]), 1).len(), 1);
    }

    #[test]
    fn a_crowd_is_of_others() {
        let templates =
            [[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.9, 0.0, 0.1], [0.0, 0.0, 1.0]].map(|v| template(&v));
        let mut gallery = Gallery::of((0..).map(Uuid::from_u128).zip(&templates));
        let found = gallery.nearest(templates[0].embedding(), 1)[0];
        assert!(found.similarity > 0.98);
        let crowd = gallery.crowd(&found, 2).expect("three others");
        assert!((0.97..1.0).contains(&crowd), "{crowd}");
        assert_eq!(gallery.crowd(&found, 2), Some(crowd), "remembered");
        gallery.put(Uuid::from_u128(1), &template(&[0.0, 1.0, 0.0]));
        assert!(gallery.crowd(&found, 2).expect("three others") < crowd);
    }
}
