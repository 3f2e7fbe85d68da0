//! Pins, by whatever drives them here: rppal on a Raspberry Pi, else the kernel's character device.
//! Knows polarity; does not know what hangs on a pin.

use std::path::Path;

use anyhow::{Context, Result};
use gpiocdev::line::{Bias, Value};
use rppal::gpio::{Gpio as Registers, InputPin, OutputPin};
use rppal::system::DeviceInfo;
use tracing::info;

use crate::config::{Backend, Wired};

/// As what Rollcall's lines are listed.
const CONSUMER: &str = "rollcall";

/// Where the pins of this machine are.
pub enum Board {
    /// A Raspberry Pi's registers.
    Rppal(Registers),
    /// A chip of the kernel's.
    Chip(Box<Path>),
}

/// A pin that is set.
pub enum Output {
    /// By its register; on where it is low?
    Rppal(OutputPin, bool),
    /// By its line.
    Chip(gpiocdev::Request),
}

/// A pin that is read.
pub enum Input {
    /// By its register; on where it is low?
    Rppal(InputPin, bool),
    /// By its line.
    Chip(gpiocdev::Request),
}

/// What holds an input where nothing drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It is on where its wire is cut.
    On,
    /// It is off.
    Off,
}

impl Board {
    /// Finds the pins. What `auto` found is logged.
    pub fn open(backend: Backend, chip: &Path) -> Result<Self> {
        let by_chip = || {
            std::fs::metadata(chip).with_context(|| format!("door.chip {}", chip.display()))?;
            Ok(Self::Chip(chip.into()))
        };
        let board = match backend {
            Backend::Gpiocdev => by_chip(),
            Backend::Rppal => Registers::new()
                .map(Self::Rppal)
                .context("door.backend is rppal, but its pins can't be opened (is this a Raspberry Pi?)"),
            Backend::Auto => match DeviceInfo::new().map(|_| Registers::new()) {
                Ok(Ok(registers)) => Ok(Self::Rppal(registers)),
                Ok(Err(error)) => {
                    info!(%error, "a Raspberry Pi whose registers can't be opened");
                    by_chip()
                }
                Err(_) => by_chip(),
            },
        }?;
        match &board {
            Self::Rppal(_) => info!(backend = "rppal", "pins"),
            Self::Chip(chip) => info!(backend = "gpiocdev", chip = %chip.display(), "pins"),
        }
        Ok(board)
    }

    /// What drives the pins.
    pub fn backend(&self) -> Backend {
        match self {
            Self::Rppal(_) => Backend::Rppal,
            Self::Chip(_) => Backend::Gpiocdev,
        }
    }

    /// Who uses a pin, besides Rollcall and as far as can be told. Changes nothing.
    pub fn user(&self, pin: u8) -> Result<Option<String>> {
        match self {
            Self::Rppal(registers) => {
                registers.get(pin).with_context(|| format!("cannot use pin {pin}"))?;
                Ok(None)
            }
            Self::Chip(chip) => {
                let line = gpiocdev::Chip::from_path(chip)
                    .and_then(|chip| chip.line_info(u32::from(pin)))
                    .with_context(|| format!("{} has no line {pin}", chip.display()))?;
                Ok(Some(line.consumer).filter(|user| line.used && user != CONSUMER))
            }
        }
    }

    /// Takes a pin as an output, off from the first moment.
    pub fn output(&self, wired: Wired) -> Result<Output> {
        let Wired { pin, active_low } = wired;
        match self {
            Self::Rppal(registers) => {
                let pin = registers.get(pin).with_context(|| format!("cannot use pin {pin}"))?;
                let mut pin = if active_low { pin.into_output_high() } else { pin.into_output_low() };
                // What is off stays driven off after this program: an input may float.
                pin.set_reset_on_drop(false);
                Ok(Output::Rppal(pin, active_low))
            }
            Self::Chip(chip) => {
                // Where the kernel makes it an input again when it is let go, the pull keeps it off.
                let bias = if active_low { Bias::PullUp } else { Bias::PullDown };
                let mut line = line(chip, wired);
                let line = line.as_output(Value::Inactive).with_bias(bias).request();
                line.with_context(|| busy(chip, pin)).map(Output::Chip)
            }
        }
    }

    /// Takes a pin as an input.
    pub fn input(&self, wired: Wired, rest: Rest) -> Result<Input> {
        let Wired { pin, active_low } = wired;
        let pulled_up = active_low == (rest == Rest::Off);
        match self {
            Self::Rppal(registers) => {
                let pin = registers.get(pin).with_context(|| format!("cannot use pin {pin}"))?;
                let pin = if pulled_up { pin.into_input_pullup() } else { pin.into_input_pulldown() };
                Ok(Input::Rppal(pin, active_low))
            }
            Self::Chip(chip) => {
                let bias = if pulled_up { Bias::PullUp } else { Bias::PullDown };
                let mut line = line(chip, wired);
                let line = line.as_input().with_bias(bias).request();
                line.with_context(|| busy(chip, pin)).map(Input::Chip)
            }
        }
    }
}

fn line(chip: &Path, Wired { pin, active_low }: Wired) -> gpiocdev::request::Builder {
    let mut builder = gpiocdev::Request::builder();
    builder.on_chip(chip).with_consumer(CONSUMER).with_line(u32::from(pin));
    if active_low {
        builder.as_active_low();
    }
    builder
}

fn busy(chip: &Path, pin: u8) -> String {
    format!("cannot use line {pin} of {} (does another program use it?)", chip.display())
}

impl Output {
    /// Switches it.
    pub fn set(&mut self, on: bool) -> Result<()> {
        match self {
            Self::Rppal(pin, active_low) => {
                if on == *active_low {
                    pin.set_low();
                } else {
                    pin.set_high();
                }
                Ok(())
            }
            Self::Chip(line) => {
                let value = if on { Value::Active } else { Value::Inactive };
                line.set_lone_value(value).context("a pin can't be set")
            }
        }
    }
}

impl Input {
    /// Whether it is on.
    pub fn is_on(&self) -> Result<bool> {
        match self {
            Self::Rppal(pin, active_low) => Ok(pin.is_low() == *active_low),
            Self::Chip(line) => Ok(line.lone_value().context("a pin can't be read")? == Value::Active),
        }
    }
}
