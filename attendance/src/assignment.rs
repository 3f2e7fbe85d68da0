//! Which shift takes a punch (rule 3).

use crate::punch::{Direction, Punch};
use crate::shift::Span;

/// The shift that takes a punch: an index into `spans`, which are in order (by start, end and name). `None`: no
/// window holds it.
pub fn assign(punch: &Punch, spans: &[Span]) -> Option<usize> {
    let holding = |index: &usize| spans[*index].holds(punch.at);
    let plausible = |index: &usize| {
        let span = &spans[*index];
        match punch.direction {
            // Nobody leaves a shift that has not begun while another may be meant,
            Direction::Out => span.start <= punch.at,
            // or comes to one that is over.
            Direction::In => span.end >= punch.at,
            Direction::Unknown => true,
        }
    };
    nearest(punch, spans, (0..spans.len()).filter(holding).filter(plausible))
        .or_else(|| nearest(punch, spans, (0..spans.len()).filter(holding)))
}

/// The nearest of `among`. A tie goes to the later shift for an explicit IN, else to the earlier.
pub fn nearest(punch: &Punch, spans: &[Span], among: impl Iterator<Item = usize>) -> Option<usize> {
    let later = punch.direction == Direction::In;
    let mut best: Option<(i64, usize)> = None;
    for index in among {
        let distance = spans[index].distance(punch.at);
        if best.is_none_or(|(least, _)| distance < least || (later && distance == least)) {
            best = Some((distance, index));
        }
    }
    best.map(|(_, index)| index)
}
