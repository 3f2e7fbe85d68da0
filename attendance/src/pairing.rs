//! First in, last out, and the intervals between (rule 5).

use crate::punch::{Direction, Punch};
use crate::shift::{Pairing, Span};

/// The punches of a day, paired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paired {
    pub first_in: Option<Moment>,
    pub last_out: Option<Moment>,
    /// An out has no in before it.
    pub missing_in: bool,
    /// An in has no out after it.
    pub missing_out: bool,
    /// From in to out, in order.
    pub closed: Vec<(i64, i64)>,
}

/// When a punch was, and whether that is a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970, UTC.
    pub at: i64,
    pub estimated: bool,
}

impl Paired {
    /// Seconds from the first in to the last out.
    pub fn span_s(&self) -> i64 {
        self.first_in.zip(self.last_out).map_or(0, |(came, went)| went.at - came.at)
    }

    /// Seconds within the closed intervals; `None` where nothing closed.
    pub fn closed_s(&self) -> Option<i64> {
        (!self.closed.is_empty()).then(|| self.closed.iter().map(|(from, to)| to - from).sum())
    }

    /// Seconds of the gaps between closed intervals that are at least `least` long.
    pub fn gaps_s(&self, least: i64) -> i64 {
        self.closed.windows(2).map(|pair| pair[1].0 - pair[0].1).filter(|gap| *gap >= least).sum()
    }

    /// Seconds within the closed intervals before an instant.
    pub fn closed_before(&self, at: i64) -> i64 {
        self.closed.iter().map(|(from, to)| ((*to).min(at) - from).max(0)).sum()
    }
}

/// Pairs the punches of a day, which are in order. `span` is the shift's, if there is one.
pub fn pair(punches: &[Punch], pairing: Pairing, span: Option<&Span>) -> Paired {
    let lone = |punch: &Punch| {
        let went = span.is_some_and(|span| (punch.at - span.end).abs() < (punch.at - span.start).abs());
        Punch { direction: if went { Direction::Out } else { Direction::In }, ..punch.clone() }
    };
    match (punches, pairing) {
        ([punch], _) if punch.direction == Direction::Unknown => first_last(&[lone(punch)]),
        (_, Pairing::FirstLast) => first_last(punches),
        (_, Pairing::Pairs) => pairs(punches),
    }
}

fn moment(punch: &Punch) -> Moment {
    Moment { at: punch.at, estimated: punch.clock == crate::ClockState::Estimated }
}

fn first_last(punches: &[Punch]) -> Paired {
    let is = |direction| move |punch: &&Punch| punch.direction == direction;
    let came = punches.iter().find(|punch| punch.direction != Direction::Out);
    let Some(came) = came else {
        let last_out = punches.iter().rfind(is(Direction::Out)).map(moment);
        return Paired { last_out, missing_in: !punches.is_empty(), ..Paired::default() };
    };
    let went = punches.iter().rfind(|punch| punch.at > came.at && punch.direction != Direction::In);
    let out_before = punches.iter().filter(is(Direction::Out)).any(|punch| punch.at < came.at);
    let in_after =
        went.is_none_or(|went| punches.iter().filter(is(Direction::In)).any(|punch| punch.at > went.at));
    Paired {
        first_in: Some(moment(came)),
        last_out: went.map(moment),
        missing_in: out_before,
        missing_out: in_after,
        closed: went.map(|went| (came.at, went.at)).into_iter().collect(),
    }
}

fn pairs(punches: &[Punch]) -> Paired {
    let mut paired = Paired::default();
    let mut open: Option<Moment> = None;
    for punch in punches {
        let comes = match punch.direction {
            Direction::In => true,
            Direction::Out => false,
            Direction::Unknown => open.is_none(),
        };
        if comes {
            paired.missing_out |= open.is_some();
            open = Some(moment(punch));
            paired.first_in = paired.first_in.or(open);
        } else {
            match open.take() {
                Some(came) => paired.closed.push((came.at, punch.at)),
                None => paired.missing_in = true,
            }
            paired.last_out = Some(moment(punch));
        }
    }
    if open.is_some() {
        paired.missing_out = true;
        paired.last_out = None;
    }
    paired
}
