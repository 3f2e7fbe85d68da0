//! GPIO pins, through rppal on a Raspberry Pi, else the kernel's character device. Handles polarity.

use std::path::Path;

use anyhow::{Context, Result};
use gpiocdev::line::{Bias, Value};
use rppal::gpio::{Gpio as Registers, InputPin, OutputPin};
use rppal::system::DeviceInfo;
use tracing::info;

use crate::config::{Backend, Wired};

/// The consumer of Rollcall's lines, as `gpioinfo` shows it.
const CONSUMER: &str = "rollcall";

pub enum Board {
    Rppal(Registers),
    Chip(Box<Path>),
}

pub enum Output {
    /// With whether it is active low.
    Rppal(OutputPin, bool),
    Chip(gpiocdev::Request),
}

pub enum Input {
    /// With whether it is active low.
    Rppal(InputPin, bool),
    Chip(gpiocdev::Request),
}

/// The state of an input that nothing drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    On,
    Off,
}

impl Board {
    pub fn open(backend: Backend, chip: &Path) -> Result<Self> {
        let by_chip = || {
            std::fs::metadata(chip).with_context(|| format!("door.chip {}", chip.display()))?;
            Ok(Self::Chip(chip.into()))
        };
        let board = match backend {
            Backend::Gpiocdev => by_chip(),
            Backend::Rppal => Registers::new()
                .map(Self::Rppal)
                .context("door.backend is rppal, but its pins can't be opened: is this a Raspberry Pi?"),
            Backend::Auto => match DeviceInfo::new().map(|_| Registers::new()) {
                Ok(Ok(registers)) => Ok(Self::Rppal(registers)),
                Ok(Err(error)) => {
                    info!(%error, "cannot open the registers of this Raspberry Pi; using gpiocdev");
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

    pub fn backend(&self) -> Backend {
        match self {
            Self::Rppal(_) => Backend::Rppal,
            Self::Chip(_) => Backend::Gpiocdev,
        }
    }

    /// The other program that uses a pin, as far as the kernel knows.
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

    /// Opens a pin as an output, initially off.
    pub fn output(&self, wired: Wired) -> Result<Output> {
        let Wired { pin, active_low } = wired;
        match self {
            Self::Rppal(registers) => {
                let pin = registers.get(pin).with_context(|| format!("cannot use pin {pin}"))?;
                let mut pin = if active_low { pin.into_output_high() } else { pin.into_output_low() };
                // Stays driven off after this program: an input may float.
                pin.set_reset_on_drop(false);
                Ok(Output::Rppal(pin, active_low))
            }
            Self::Chip(chip) => {
                // Where the kernel makes a released line an input, the pull keeps it off.
                let bias = if active_low { Bias::PullUp } else { Bias::PullDown };
                let mut line = line(chip, wired);
                let line = line.as_output(Value::Inactive).with_bias(bias).request();
                line.with_context(|| busy(chip, pin)).map(Output::Chip)
            }
        }
    }

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
                line.set_lone_value(value).context("cannot set a pin")
            }
        }
    }
}

impl Input {
    pub fn is_on(&self) -> Result<bool> {
        match self {
            Self::Rppal(pin, active_low) => Ok(pin.is_low() == *active_low),
            Self::Chip(line) => Ok(line.lone_value().context("cannot read a pin")? == Value::Active),
        }
    }
}
