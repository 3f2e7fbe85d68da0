//! Everybody whom a terminal may recognise, and the search for the nearest of them.

use uuid::Uuid;
use zeroize::Zeroize;

use crate::template::{Embedding, Template, distance, dot};

/// A person and how far away they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The person.
    pub person: Uuid,
    /// Distance of unit vectors: 0 is the same picture, 1.41 unrelated.
    pub distance: f32,
}

/// The templates, one a person, in one block of memory.
#[derive(Clone, Default)]
pub struct Gallery {
    people: Vec<Uuid>,
    vectors: Vec<f32>,
}

impl Gallery {
    /// People in it.
    pub fn len(&self) -> usize {
        self.people.len()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    /// Puts a person's template in, or replaces it.
    pub fn put(&mut self, person: Uuid, template: &Template) {
        let values = template.embedding().values();
        if let Some(index) = self.people.iter().position(|p| *p == person) {
            self.vectors[index * values.len()..][..values.len()].copy_from_slice(values);
        } else {
            self.people.push(person);
            self.vectors.extend_from_slice(values);
        }
    }

    /// The nearest person. `None` in an empty gallery.
    pub fn nearest(&self, face: &Embedding) -> Option<Candidate> {
        let rows = self.vectors.chunks_exact(face.values().len().max(1)).zip(&self.people);
        rows.map(|(row, person)| (dot(row, face.values()), *person))
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(dot, person)| Candidate { person, distance: distance(dot) })
    }
}

impl Drop for Gallery {
    fn drop(&mut self) {
        self.vectors.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(values: &[f32]) -> Template {
        Template::mean(&[Embedding::normalised(values).expect("direction")]).expect("one photo")
    }

    #[test]
    fn the_nearest_person_is_found_and_replaced() {
        let face = Embedding::normalised(&[1.0, 0.1, 0.0]).expect("direction");
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut gallery = Gallery::default();
        assert!(gallery.nearest(&face).is_none());
        gallery.put(one, &template(&[1.0, 0.0, 0.0]));
        gallery.put(other, &template(&[0.0, 1.0, 0.0]));
        assert_eq!(gallery.nearest(&face).map(|c| c.person), Some(one));
        gallery.put(one, &template(&[0.0, 0.0, 1.0]));
        assert_eq!(gallery.len(), 2);
        assert_eq!(gallery.nearest(&face).map(|c| c.person), Some(other));
    }
}
