"""Part 2 C to E: g_T(x; M) = M⁻¹ f_T(M x) and the gradients of ‖x - g‖², for one x and M."""
