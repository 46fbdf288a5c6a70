//! Adversarial stand-ins for a machine.
