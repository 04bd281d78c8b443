//! Numbers of about 31 digits: the unevaluated sum of two `f64`, after Dekker (1971) and Hida, Li and
//! Bailey (2001); and complex numbers of them.

use std::f64::consts::{LN_2, LN_10};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// The sum of a number and of one at least 2⁵³ times smaller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Double(pub(crate) f64, pub(crate) f64);

fn two_sum(a: f64, b: f64) -> Double {
    let s = a + b;
    let v = s - a;
    Double(s, (a - (s - v)) + (b - v))
}

fn quick_two_sum(a: f64, b: f64) -> Double {
    let s = a + b;
    Double(s, b - (s - a))
}

impl Add for Double {
    type Output = Double;
    fn add(self, other: Double) -> Double {
        let s = two_sum(self.0, other.0);
        let t = two_sum(self.1, other.1);
        let s = quick_two_sum(s.0, s.1 + t.0);
        quick_two_sum(s.0, s.1 + t.1)
    }
}

impl Neg for Double {
    type Output = Double;
    fn neg(self) -> Double {
        Double(-self.0, -self.1)
    }
}

impl Sub for Double {
    type Output = Double;
    fn sub(self, other: Double) -> Double {
        self + -other
    }
}

impl Mul for Double {
    type Output = Double;
    fn mul(self, other: Double) -> Double {
        let p = self.0 * other.0;
        let e = self.0.mul_add(other.0, -p);
        quick_two_sum(p, e + (self.0 * other.1 + self.1 * other.0))
    }
}

impl Div for Double {
    type Output = Double;
    fn div(self, other: Double) -> Double {
        let q = self.0 / other.0;
        let r = self - other * Double::from(q);
        let q2 = r.0 / other.0;
        let r = r - other * Double::from(q2);
        quick_two_sum(q, q2) + Double::from(r.0 / other.0)
    }
}

impl From<f64> for Double {
    fn from(x: f64) -> Double {
        Double(x, 0.0)
    }
}

impl Double {
    pub(crate) const ZERO: Double = Double(0.0, 0.0);
    pub(crate) const ONE: Double = Double(1.0, 0.0);
    pub(crate) const PI: Double = Double(std::f64::consts::PI, 1.224_646_799_147_353_2e-16);
    const HALF_PI: Double = Double(std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17);
    const LN_2: Double = Double(LN_2, 2.319_046_813_846_299_6e-17);

    pub(crate) fn is_finite(self) -> bool {
        self.0.is_finite() && self.1.is_finite()
    }

    pub(crate) fn abs(self) -> Double {
        if self.0 < 0.0 { -self } else { self }
    }

    pub(crate) fn floor(self) -> Double {
        let whole = self.0.floor();
        if whole == self.0 { quick_two_sum(whole, self.1.floor()) } else { Double::from(whole) }
    }

    fn sqrt(self) -> Double {
        if self.0 <= 0.0 {
            return Double::ZERO;
        }
        let x = Double::from(self.0.sqrt());
        // Two steps of Heron's rule.
        let x = (x + self / x) * Double::from(0.5);
        (x + self / x) * Double::from(0.5)
    }

    pub(crate) fn exp(self) -> Double {
        if self.0 > 709.0 {
            return Double::from(f64::INFINITY);
        }
        if self.0 < -709.0 {
            return Double::ZERO;
        }
        let k = (self.0 / LN_2).round();
        let r = (self - Double::LN_2 * Double::from(k)) * Double::from(1.0 / 256.0);
        let (mut term, mut sum) = (Double::ONE, Double::ONE);
        for n in 1..14 {
            term = term * r / Double::from(f64::from(n));
            sum = sum + term;
        }
        for _ in 0..8 {
            sum = sum * sum;
        }
        let scale = 2f64.powi(k as i32);
        Double(sum.0 * scale, sum.1 * scale)
    }

    fn ln(self) -> Double {
        let mut y = Double::from(self.0.ln());
        // Newton's rule on exp(y) = x.
        for _ in 0..2 {
            y = y + self * (-y).exp() - Double::ONE;
        }
        y
    }

    /// Sine and cosine.
    fn sin_cos(self) -> (Double, Double) {
        // Past this, the argument's own digits are used up.
        if self.0.abs() > 1e9 {
            return (Double::from(f64::NAN), Double::from(f64::NAN));
        }
        let k = (self / Double::HALF_PI + Double::from(0.5)).floor();
        let r = self - k * Double::HALF_PI;
        let square = r * r;
        let (mut sin, mut cos) = (r, Double::ONE);
        let (mut s, mut c) = (r, Double::ONE);
        for n in 1..16 {
            let n = f64::from(n);
            c = -(c * square) / Double::from((2.0 * n - 1.0) * 2.0 * n);
            s = -(s * square) / Double::from(2.0 * n * (2.0 * n + 1.0));
            cos = cos + c;
            sin = sin + s;
        }
        match k.0.rem_euclid(4.0) as u8 {
            0 => (sin, cos),
            1 => (cos, -sin),
            2 => (-sin, -cos),
            _ => (-cos, sin),
        }
    }

    /// The angle of the point `(x, y)`.
    fn angle(y: Double, x: Double) -> Double {
        let mut angle = Double::from(y.0.atan2(x.0));
        let r = (x * x + y * y).sqrt();
        if r.0 == 0.0 {
            return Double::ZERO;
        }
        for _ in 0..2 {
            let (sin, cos) = angle.sin_cos();
            angle = angle + (y * cos - x * sin) / r;
        }
        angle
    }
}

/// A complex number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Complex {
    pub(crate) re: Double,
    pub(crate) im: Double,
}

impl Complex {
    pub(crate) const ZERO: Complex = Complex { re: Double::ZERO, im: Double::ZERO };
    pub(crate) const ONE: Complex = Complex { re: Double::ONE, im: Double::ZERO };
    pub(crate) const I: Complex = Complex { re: Double::ZERO, im: Double::ONE };

    pub(crate) fn real(re: Double) -> Complex {
        Complex { re, im: Double::ZERO }
    }

    pub(crate) fn number(x: f64) -> Complex {
        Complex::real(Double::from(x))
    }

    pub(crate) fn is_finite(self) -> bool {
        self.re.is_finite() && self.im.is_finite()
    }

    pub(crate) fn abs(self) -> Double {
        if self.im.0 == 0.0 {
            return self.re.abs();
        }
        (self.re * self.re + self.im * self.im).sqrt()
    }

    pub(crate) fn is_real(self) -> bool {
        self.im.0.abs() <= 1e-24 * self.re.0.abs().max(1.0)
    }

    pub(crate) fn sqrt(self) -> Complex {
        if self.im.0 == 0.0 {
            return match self.re.0 < 0.0 {
                true => Complex { re: Double::ZERO, im: (-self.re).sqrt() },
                false => Complex::real(self.re.sqrt()),
            };
        }
        (self.ln() * Complex::number(0.5)).exp()
    }

    pub(crate) fn exp(self) -> Complex {
        let size = self.re.exp();
        if self.im.0 == 0.0 {
            return Complex::real(size);
        }
        let (sin, cos) = self.im.sin_cos();
        Complex { re: size * cos, im: size * sin }
    }

    pub(crate) fn ln(self) -> Complex {
        let im = match self.im.0 == 0.0 {
            true if self.re.0 < 0.0 => Double::PI,
            true => Double::ZERO,
            false => Double::angle(self.im, self.re),
        };
        Complex { re: self.abs().ln(), im }
    }

    pub(crate) fn log10(self) -> Complex {
        let ten = Double::from(10.0).ln();
        debug_assert!((ten.0 - LN_10).abs() < 1e-15);
        self.ln() / Complex::real(ten)
    }

    pub(crate) fn pow(self, exponent: Complex) -> Complex {
        let n = exponent.re.0;
        if exponent.im.0 == 0.0 && exponent.re.1 == 0.0 && n.fract() == 0.0 && n.abs() <= 1024.0 {
            let (mut result, mut square, mut left) = (Complex::ONE, self, n.abs() as u32);
            while left > 0 {
                if left & 1 == 1 {
                    result = result * square;
                }
                square = square * square;
                left >>= 1;
            }
            return if n < 0.0 { Complex::ONE / result } else { result };
        }
        if self.re.0 == 0.0 && self.im.0 == 0.0 {
            return if n > 0.0 { Complex::ZERO } else { Complex::number(f64::NAN) };
        }
        (self.ln() * exponent).exp()
    }

    pub(crate) fn sin(self) -> Complex {
        if self.im.0 == 0.0 {
            return Complex::real(self.re.sin_cos().0);
        }
        let i = self * Complex::I;
        (i.exp() - (-i).exp()) / (Complex::I + Complex::I)
    }

    pub(crate) fn cos(self) -> Complex {
        if self.im.0 == 0.0 {
            return Complex::real(self.re.sin_cos().1);
        }
        let i = self * Complex::I;
        (i.exp() + (-i).exp()) * Complex::number(0.5)
    }

    pub(crate) fn asin(self) -> Complex {
        let inner = Complex::I * self + (Complex::ONE - self * self).sqrt();
        -(Complex::I * inner.ln())
    }

    pub(crate) fn atan(self) -> Complex {
        if self.im.0 == 0.0 {
            return Complex::real(Double::angle(self.re, Double::ONE));
        }
        let (above, below) = (Complex::ONE - Complex::I * self, Complex::ONE + Complex::I * self);
        Complex::I * Complex::number(0.5) * (above.ln() - below.ln())
    }
}

impl Add for Complex {
    type Output = Complex;
    fn add(self, other: Complex) -> Complex {
        Complex { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Neg for Complex {
    type Output = Complex;
    fn neg(self) -> Complex {
        Complex { re: -self.re, im: -self.im }
    }
}

impl Sub for Complex {
    type Output = Complex;
    fn sub(self, other: Complex) -> Complex {
        self + -other
    }
}

impl Mul for Complex {
    type Output = Complex;
    fn mul(self, other: Complex) -> Complex {
        if self.im.0 == 0.0 && other.im.0 == 0.0 {
            return Complex::real(self.re * other.re);
        }
        Complex {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
        }
    }
}

impl Div for Complex {
    type Output = Complex;
    fn div(self, other: Complex) -> Complex {
        if self.im.0 == 0.0 && other.im.0 == 0.0 {
            return Complex::real(self.re / other.re);
        }
        let size = other.re * other.re + other.im * other.im;
        let conjugate = Complex { re: other.re, im: -other.im };
        let product = self * conjugate;
        Complex { re: product.re / size, im: product.im / size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: Double, b: Double) -> bool {
        (a - b).abs().0 <= 1e-28 * b.0.abs().max(1.0)
    }

    #[test]
    fn functions_take_each_other_back() {
        for x in [0.1, 0.5, 1.0, 2.75, 30.0, 1e-5] {
            let d = Double::from(x);
            assert!(near(d.ln().exp(), d), "ln {x}");
            assert!(near(d.sqrt() * d.sqrt(), d), "sqrt {x}");
            let (sin, cos) = d.sin_cos();
            assert!(near(sin * sin + cos * cos, Double::ONE), "sin cos {x}");
            let z = Complex { re: d, im: Double::from(0.7) };
            let back = z.sqrt() * z.sqrt() - z;
            assert!(back.abs().0 < 1e-27, "complex sqrt {x}");
            let atan = Complex::real(d).atan();
            assert!(near(atan.sin().re / atan.cos().re, d), "atan {x}");
        }
        assert!(near(Double::angle(Double::ONE, Double::ONE) * Double::from(4.0), Double::PI));
        assert!(near(Complex::number(0.5).asin().re * Double::from(6.0), Double::PI));
    }
}
