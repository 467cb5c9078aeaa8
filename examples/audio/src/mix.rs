//! Voices together: added up, and kept within the range of samples.

/// Adds a voice to a mix, at first as loud as the first of `gains` and in the end as the second.
pub fn mix_into(mix: &mut [f32], voice: &[f32], gains: [f32; 2]) {
    let [mut gain, end] = gains;
    let step = (end - gain) / voice.len().max(1) as f32;
    for (sum, sample) in mix.iter_mut().zip(voice) {
        gain += step;
        *sum += sample * gain;
    }
}

/// Keeps a mix within -1 to 1: what is loud is bent, not cut; what is not stays as it is.
pub fn limit(mix: &mut [f32]) {
    const KNEE: f32 = 0.8;
    for sample in mix {
        let loud = sample.abs();
        if loud > KNEE {
            let over = (loud - KNEE) / (1.0 - KNEE);
            *sample = sample.signum() * (KNEE + (1.0 - KNEE) * over.tanh());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_stays_in_range_and_what_is_not_loud_stays_as_it_is() {
        let mut mix = vec![0.0; 3];
        mix_into(&mut mix, &[0.5, 0.9, -2.0], [1.0; 2]);
        mix_into(&mut mix, &[0.1, 0.9, -2.0], [0.5; 2]);
        limit(&mut mix);
        assert!((mix[0] - 0.55).abs() < 1e-6 && mix.iter().all(|sample| sample.abs() <= 1.0), "{mix:?}");
    }
}
