//! The two curves.

use std::fmt;

/// A curve that keys can be of. Implementations of atproto must know both.
///
/// Source: <https://atproto.com/specs/cryptography>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// The NIST curve K-256, also called secp256k1; the signatures are ES256K.
    K256,
    /// The NIST curve P-256, also called secp256r1; the signatures are ES256.
    P256,
}

impl Curve {
    /// The one with the higher order: what is out of range for it is so on both curves.
    pub(super) const WIDER: Self = Self::K256;

    /// Returns the order of the curve, which r and s are less than, as its high and its low half,
    /// so that comparing pairs compares the numbers.
    ///
    /// Source: SEC 2, version 2.0, 2.4.1 and 2.4.2
    pub(super) fn order(self) -> (u128, u128) {
        match self {
            Self::K256 => (
                0xffff_ffff_ffff_ffff_ffff_ffff_ffff_fffe,
                0xbaae_dce6_af48_a03b_bfd2_5e8c_d036_4141,
            ),
            Self::P256 => (
                0xffff_ffff_0000_0000_ffff_ffff_ffff_ffff,
                0xbce6_faad_a717_9e84_f3b9_cac2_fc63_2551,
            ),
        }
    }

    /// Returns half of the order, rounded down: the maximum of a low s.
    pub(super) fn half_order(self) -> (u128, u128) {
        let (high, low) = self.order();
        (high >> 1, high << 127 | low >> 1)
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::K256 => "k256",
            Self::P256 => "p256",
        })
    }
}
